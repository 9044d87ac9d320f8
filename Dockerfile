# The bot's image, for any platform that Go and Debian have. Shipmate builds it by .shipmate.yaml; by hand it is
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.2.3 -t registry.example.com/team/shipmate --push .
# Who reaches the base images through a mirror names them by the arguments. Go compiles on the builder's own platform; only what
# Debian installs is run on the image's, by emulation where that is another one.
ARG GO_IMAGE=golang:1.26-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
ARG TARGETOS TARGETARCH
# VERSION is for builds by hand; Shipmate gives the others.
ARG VERSION GIT_TAG GIT_COMMIT_SHORT GIT_COMMIT
RUN --mount=type=bind,target=. --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION:-${GIT_TAG:-${GIT_COMMIT_SHORT:-dev}}} -X main.commit=${GIT_COMMIT}" -o /out/bot ./cmd/bot

# git, as far as fetching over HTTPS needs it: two programs, what they are linked with, and the certificates. No shell, no package manager.
FROM ${DEBIAN_IMAGE} AS git
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git
RUN set -eu; mkdir -p /out/etc /out/tmp /out/data /out/usr/bin /out/usr/lib/git-core; \
    cp -L /usr/bin/git /out/usr/bin/git; \
    cp -L /usr/lib/git-core/git-remote-https /out/usr/lib/git-core/git-remote-https; \
    ln -s git-remote-https /out/usr/lib/git-core/git-remote-http; \
    ln -s ../../bin/git /out/usr/lib/git-core/git; \
    for lib in $(ldd /usr/bin/git /usr/lib/git-core/git-remote-https | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u); do cp -L --parents "$lib" /out; done; \
    cp -L --parents /etc/ssl/certs/ca-certificates.crt /out; \
    echo 'hosts: files dns' >/out/etc/nsswitch.conf; \
    echo 'shipmate:x:65532:65532::/var/lib/shipmate:/nowhere' >/out/etc/passwd; \
    echo 'shipmate:x:65532:' >/out/etc/group; \
    chmod 1777 /out/tmp; mkdir /data; mv /out/data /data/shipmate; chmod 700 /data/shipmate

FROM scratch
COPY --from=git /out/ /
COPY --from=git --chown=65532:65532 /data/ /var/lib/
COPY --from=build /out/bot /usr/bin/bot
ENV PATH=/usr/bin
USER 65532:65532
WORKDIR /var/lib/shipmate
EXPOSE 8080
ENTRYPOINT ["/usr/bin/bot"]
CMD ["serve", "--config", "/etc/shipmate/shipmate.yaml"]
