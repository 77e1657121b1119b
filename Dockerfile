# Build:  docker build -t tollgate .
# Run:    docker run -p 8080:8080 -e OPENAI_API_KEY -e FORWARD_KEY tollgate
#         docker run -p 8080:8080 -v ./tollgate.yaml:/etc/tollgate/tollgate.yaml:ro tollgate
#         docker run -p 8080:8080 -v chats:/var/lib/tollgate -e LOG_CHAT=true -e … tollgate
#         docker run -p 127.0.0.1:8080:8080 tollgate run -c /etc/tollgate/demo.yaml
# In the file, listen on 0.0.0.0:8080: a container's loopback cannot be reached from outside.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake curl make openssl python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN make release

FROM debian:bookworm-slim
# The system's list of certificate authorities, against which providers' certificates are checked.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tollgate \
    && install -d /etc/tollgate \
    && install -d -m 0700 -o 10001 /var/lib/tollgate
COPY --from=build /build/target/release/tollgate /usr/local/bin/tollgate
COPY conf/examples/demo.yaml /etc/tollgate/demo.yaml
USER 10001
# LOG_CHAT writes to this folder. A volume keeps it.
WORKDIR /var/lib/tollgate
EXPOSE 8080
ENTRYPOINT ["tollgate"]
CMD ["run"]
