# spotter's image: the program, the C library and certificates; no shell, no package manager. `make image-test` measures it on
# a stand-in for the base (about 52 MiB, of which the built-in detector is 15) and fails at 60 MiB, or where it takes a second
# to listen.
#
#   docker build -t spotter .
#   docker run --rm -p 8080:8080 --read-only --cap-drop ALL -e SPOTTER_ALLOW_ANONYMOUS=true spotter
#
# It listens beyond loopback, so it wants keys (SPOTTER_API_KEYS) or the word that it may do without.
#
# The two bases are named by tag here, so that a checkout builds as it is, and by digest where it counts: the pipeline
# (.github/workflows/images.yml) resolves each tag once, builds with the digests and writes them down with the image. A
# digest in this file would be one that nobody renews.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# hadolint ignore=DL3006
FROM ${RUST_IMAGE} AS build
# The C decoder for JPEG: faster, and here apart from everything else (docs/adr/0004-jpeg-decoder.md). To keep all
# decoding in Rust: --build-arg FEATURES="".
ARG FEATURES="turbojpeg"
# libjpeg-turbo is built with them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake nasm \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches outlive the build, not the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --features "${FEATURES}" --config 'profile.release.strip="symbols"' \
    && cp target/release/spotter /spotter

# hadolint ignore=DL3006
FROM ${RUNTIME_IMAGE}
COPY --from=build /spotter /usr/local/bin/spotter
# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV SPOTTER_LISTEN=0.0.0.0:8080
EXPOSE 8080
# The program asks itself: there is nothing else in here that could.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/local/bin/spotter", "health"]
ENTRYPOINT ["/usr/local/bin/spotter"]
CMD ["serve"]
