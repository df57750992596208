# What apps are built in: the run image with compiler, headers and the programs that buildpacks expect.
ARG RUN_IMAGE
FROM ${RUN_IMAGE}
ARG STACK
USER 0:0
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get -y install --no-install-recommends \
      autoconf automake bzip2 findutils gawk git grep gzip jq libtool make openssh-client patch sed tar \
      build-essential pkg-config \
      python3-dev python3-pip python3-venv \
      libbz2-dev libcurl4-openssl-dev libffi-dev libjpeg62-turbo-dev liblzma-dev libmariadb-dev libpng-dev libpq-dev \
      libreadline-dev libsqlite3-dev libssl-dev libxml2-dev libxslt1-dev libyaml-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/* /var/log/* /usr/share/man/* /var/cache/debconf/*-old
USER 32767:32767
LABEL dev.slipway.stack=${STACK} dev.slipway.stack.version=1 dev.slipway.stack.image=build
