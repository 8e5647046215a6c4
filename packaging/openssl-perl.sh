#!/bin/sh
# The perl that configures OpenSSL. openssl-src runs `$OPENSSL_SRC_PERL ./Configure …`, and has no other way to leave parts out.
# OpenSSL's providers name every algorithm in tables, so a linker cannot drop any. Only Configure can leave them out, which
# makes fetch-quotes small (5.25 MB with everything).
#
# Kept because a Kafka broker may require it: TLS 1.2 and 1.3; RSA, ECDSA and EdDSA certificates; (EC)DHE and ML-KEM; AES and
# ChaCha20; SHA-1, SHA-2 and SHA-3; HMAC and PBKDF2, which SCRAM needs; error texts, which operators need.
set -eu
# OpenSSL's Makefile also calls this file.
PERL=$0
export PERL
case "${1:-}" in
  ./Configure) shift ;;
  # The perl scripts that generate assembler ask the compiler whether it supports AVX-512, which is 0.7 MB of code for AES alone.
  # This answers as an older assembler. AES-NI and AVX2, which every CPU of Lambda has, are kept.
  */asm/*.pl) exec env CC="echo GNU assembler version 2.22 #" perl "$@" ;;
  *) exec perl "$@" ;;
esac
# Protocols that no broker uses: DTLS, QUIC, SRTP; and TLS 1.0 and 1.1, which OpenSSL 3 refuses at its default security level.
left_out="dgram srtp tls1 tls1_1 nextprotoneg srp psk"
# Ciphers and digests that TLS 1.2 and 1.3 do not have, or only on request.
left_out="$left_out aria bf cast des idea rc2 rc4 seed camellia sm2 sm3 sm4 gost md4 mdc2 rmd160 whirlpool blake2 siphash siv ocb"
left_out="$left_out scrypt argon2 dsa ml-dsa slh-dsa lms ec2m cmac"
# Not part of TLS: CMS, CMP, time stamps, certificate transparency, OCSP and its HTTP client, addresses in certificates.
left_out="$left_out cms cmp ts ct http ocsp rfc3779"
# Not used by a static client: engines, modules, coroutines, a thread pool, prompts, traces, the names of source files in errors.
left_out="$left_out engine dso async thread-pool ui-console ssl-trace filenames multiblock"
options=""
for part in $left_out; do options="$options no-$part"; done
# The 64-bit code for P-256, instead of the code with a table of 150 kB that does not compress.
options="$options enable-ec_nistp_64_gcc_128 -UECP_NISTZ256_ASM"
# Optimized for size, because the hot code is assembler. zig treats -Oz as -Os unless clang gets it directly. Nothing unwinds through C.
options="$options -Os -Xclang -Oz -ffunction-sections -fdata-sections -fno-unwind-tables -fno-asynchronous-unwind-tables"
# shellcheck disable=SC2086
exec perl ./Configure "$@" $options
