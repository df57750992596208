{{- define "slipway.name" -}}slipway{{- end -}}

{{- define "slipway.selector" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: slipway
{{- end -}}

{{- /* The operator's image as the nodes pull it. */ -}}
{{- define "slipway.image" -}}
{{- $repository := required "image.repository is needed: where the operator's own image is" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "slipway.registrySecret" -}}
{{ .Values.registry.existingSecret | default (printf "%s-registry" (include "slipway.name" .)) }}
{{- end -}}

{{- /* Whether there is an account for the registry. */ -}}
{{- define "slipway.hasAccount" -}}
{{- if or .Values.registry.existingSecret .Values.registry.username -}}yes{{- end -}}
{{- end -}}
