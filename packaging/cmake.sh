#!/bin/sh
# The cmake that configures librdkafka. The crate cmake runs `$CMAKE`, and has no other way to set these options.
# zig treats -Oz as -Os unless clang gets it directly, which saves 10 % of librdkafka. fetch-quotes
# loads no plugins and compresses nothing.
set -eu
case "$1" in
  --build) exec cmake "$@" ;;
  *) exec cmake "$@" "-DCMAKE_C_FLAGS_MINSIZEREL=-Os -Xclang -Oz -DNDEBUG" -DWITH_PLUGINS=OFF -DWITH_ZLIB=OFF ;;
esac
