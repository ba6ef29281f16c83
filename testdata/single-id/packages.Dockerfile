# Debian packages whose files belong to others than root, and scripts that make users.
ARG BASE
FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
RUN --mount=type=secret,id=apt,target=/etc/apt/apt.conf.d/99-of-the-host \
    apt-get update && apt-get install -y --no-install-recommends cron openssh-client && rm -rf /var/lib/apt/lists/*
