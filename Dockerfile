# Build:  docker build -t tollgate .                                       by profile, a quarter of an hour
#         docker build -t tollgate --build-arg BY_PROFILE=no .             without it, a few minutes
#         docker build --target binary --output target/image .             the binary alone
# Run:    docker run -p 8080:8080 -e OPENAI_API_KEY -e FORWARD_KEY tollgate
#         docker run -p 8080:8080 -v ./tollgate.yaml:/etc/tollgate/tollgate.yaml:ro tollgate
#         docker run -p 8080:8080 -v state:/var/lib/tollgate -e LOG_CHAT=true -e … tollgate
#         docker run -p 127.0.0.1:8080:8080 tollgate run -c /etc/tollgate/demo.yaml
# In the file, listen on 0.0.0.0:8080: a container's loopback cannot be reached from outside.
# docs/containers.md has the rest: what it writes, health checks, compose, Kubernetes.

FROM rust:1.95-bookworm AS build
# What tests/install.sh would install: cmake for compiling, the others for recording the profile. Their versions are
# those of Debian's stable release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake curl make openssl python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
ARG BY_PROFILE=yes
RUN if [ "$BY_PROFILE" = yes ]; then make release; else cargo build --locked --release --bin tollgate; fi

# The binary as a file, for releases: docker build --target binary --output FOLDER.
FROM scratch AS binary
COPY --from=build /build/target/release/tollgate /tollgate

FROM debian:bookworm-slim AS image
# The list of certificate authorities against which providers' certificates are checked. It must be current, so it has
# no fixed version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tollgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tollgate \
    && install -d /etc/tollgate \
    && install -d -m 0700 -o 10001 -g tollgate /var/lib/tollgate
COPY --from=build /build/target/release/tollgate /usr/local/bin/tollgate
COPY conf/examples/demo.yaml /etc/tollgate/demo.yaml
LABEL org.opencontainers.image.title="Tollgate" \
      org.opencontainers.image.description="A self-hosted gateway for the OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
# The chat log of LOG_CHAT and the ledger are written below this folder. A volume keeps them.
WORKDIR /var/lib/tollgate
# 8080: clients. 9464: the operator, if server.admin lets others reach it.
EXPOSE 8080 9464
# The command waits up to 4 s for an answer. Podman needs --format docker to keep this line.
HEALTHCHECK --interval=30s --timeout=6s --start-period=15s --retries=3 CMD ["tollgate", "health"]
# SIGTERM drains: requests in flight have server.shutdown_grace (30 s). Give the container a little longer, as in
# docker stop --time 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["run"]
