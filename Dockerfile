# Two images from one build:
#
#   docker build --target relay     -t sapi-relay .
#   docker build --target simulator -t sapi-sim   .
#
# The relay's runs as 10001:10001, on a root filesystem that may be read-only. It wants the configuration at
# /etc/sapi-relay/relay.toml and a volume at /var/lib/sapi-relay; listeners have to be bound to 0.0.0.0.

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY tests tests
# What cargo fetches and builds is kept between builds; what is shipped is copied out of there.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p sapi-relay -p sapi-sim \
 && install -D -t /out target/release/sapi-relay target/release/sapi-sim

FROM debian:12.11-slim AS base
# OpenSSL for Kafka's client, the certificates of the world for all others.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/sapi-relay
# A number: Kubernetes can tell that it isn't root.
USER 10001:10001

FROM base AS simulator
COPY --from=build /out/sapi-sim /usr/bin/
EXPOSE 9700
ENTRYPOINT ["/usr/bin/sapi-sim"]
CMD ["--listen", "0.0.0.0:9700"]

FROM base AS relay
COPY --from=build /out/sapi-relay /usr/bin/
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/sapi-relay/
VOLUME /var/lib/sapi-relay
EXPOSE 8080 9464
# Of /livez; where admin.listen has another port, give it with --admin.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["/usr/bin/sapi-relay", "health"]
ENTRYPOINT ["/usr/bin/sapi-relay"]
CMD ["run", "--config", "/etc/sapi-relay/relay.toml"]
