# syntax=docker/dockerfile:1
# One static binary for operator, workers and collectors, in an image that holds nothing else but
# certificate authorities.
#
#   docker build --build-arg VERSION=0.1.0 -t millrace:0.1.0 .
#
# Releases pin the builder by digest: --build-arg GO_IMAGE=golang:1.26.11@sha256:... The final image is
# built from scratch, so there is no other base to pin.
ARG GO_IMAGE=golang:1.26.11

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
# The modules change seldom: a layer of their own keeps them cached.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY main.go ./
COPY api api
COPY config config
COPY controllers controllers
COPY workers workers
ARG TARGETOS TARGETARCH VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /millrace .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /millrace /millrace
# A number, since "runAsNonRoot: true" cannot judge a name. Any other number will do as well:
# the binary writes nothing into the image.
USER 65532:65532
ENTRYPOINT ["/millrace"]
