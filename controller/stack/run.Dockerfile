# What apps run on: the runtimes that come from the distribution, and shared libraries. No compiler, no headers.
ARG BASE
FROM ${BASE}
ARG STACK
ENV STACK=${STACK} HOME=/app
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get -y upgrade \
 && apt-get -y install --no-install-recommends \
      bash ca-certificates curl file locales netbase openssl procps tzdata unzip xz-utils zstd \
      libpython3.13 python3 \
      libatomic1 libcurl4t64 libffi8 libgomp1 libjpeg62-turbo libmariadb3 libpng16-16t64 libpq5 libsqlite3-0 libssl3t64 \
      libxml2 libxslt1.1 libyaml-0-2 zlib1g \
 && printf 'en_US.UTF-8 UTF-8\n' > /etc/locale.gen && locale-gen && rm -rf /usr/share/i18n \
 && rm -rf /var/lib/apt/lists/* /var/log/* /usr/share/man/* /var/cache/debconf/*-old
# What the python buildpack promises to apps; there is none of that name before locale-gen.
ENV LANG=en_US.UTF-8
RUN groupadd --gid 32767 app \
 && useradd --uid 32767 --gid 32767 --home-dir /app --no-create-home --shell /bin/bash app \
 && install -d -o app -g app -m 0755 /app
USER 32767:32767
WORKDIR /app
LABEL dev.slipway.stack=${STACK} dev.slipway.stack.version=1 dev.slipway.stack.image=run
