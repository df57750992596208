{{- /* What in the operator's settings and pod depends on what runs builds. Its objects are in runner.yaml. */ -}}

{{- define "slipway.runner.settings" -}}
engine:
  address: {{ required "engine.address is needed: tcp://host:port of the Docker Engine that runs builds" .Values.engine.address | quote }}
  certificates: /etc/slipway/engine
{{- end -}}

{{- define "slipway.runner.mounts" -}}
- {name: engine, mountPath: /etc/slipway/engine, readOnly: true}
{{- end -}}

{{- define "slipway.runner.volumes" -}}
- name: engine
  secret: {secretName: {{ include "slipway.engineSecret" . }}, defaultMode: 0440}
{{- end -}}

{{- define "slipway.engineSecret" -}}
{{ .Values.engine.existingSecret | default (printf "%s-engine" (include "slipway.name" .)) }}
{{- end -}}
