#!/bin/sh
# The cmake that configures librdkafka: the crate cmake runs `$CMAKE`, and has no other way to name these options.
# zig takes -Oz for -Os unless clang is told itself: 10 % of librdkafka. fetch-quotes
# loads no plugins and compresses nothing.
set -eu
case "$1" in
  --build) exec cmake "$@" ;;
  *) exec cmake "$@" "-DCMAKE_C_FLAGS_MINSIZEREL=-Os -Xclang -Oz -DNDEBUG" -DWITH_PLUGINS=OFF -DWITH_ZLIB=OFF ;;
esac
