module millrace.dev/millrace/test/bench/rivals

go 1.26.0

toolchain go1.26.11

tool github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto

require (
	github.com/klauspost/compress v1.20.3
	github.com/minio/minlz v1.2.4
	github.com/pierrec/lz4/v4 v4.1.33
	google.golang.org/protobuf v1.36.12
	millrace.dev/millrace v0.0.0
)

require (
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace millrace.dev/millrace => ../../..
