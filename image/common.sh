# shellcheck shell=bash
# What the scripts of image/ share: where things are, how a build is named, how they fail. Sourced, not run.
set -euo pipefail

image=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck disable=SC2034 # Used by the scripts that source this.
repository=$(dirname "$image")
# What does not depend on our code is kept here, as .ci/run keeps models and compiled dependencies.
cache=${OFFHOOK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/offhook}/image
# Where the results go.
target=${CARGO_TARGET_DIR:-$repository/target}/image
mkdir -p "$cache" "$target"

# The time stamped on every file of the base: fixed, so that it does not depend on when it was built.
export BASE_EPOCH=1767225600 # 2026-01-01

# Boxes with other hardware refuse each other's bundles by this name.
# shellcheck disable=SC2034 # Used by the scripts that source this.
compatible=${OFFHOOK_COMPATIBLE:-offhook-arm64-efi}

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

say() { printf '   %s\n' "$*" >&2; }

# scratch: a temporary folder that goes away with the script. Sets $work.
scratch() {
    work=$(mktemp -d "$target/${0##*/}.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# listed: the packages of image/packages.txt, separated by commas.
listed() { awk '!/^#/ && NF { print $1 }' "$image/packages.txt" | paste -sd ,; }

# version: what this build calls itself. A release sets OFFHOOK_IMAGE_VERSION; anything else is the workspace's version.
version() {
    local workspace
    workspace=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
    printf '%s\n' "${OFFHOOK_IMAGE_VERSION:-$workspace}"
}

# epoch: the time stamped on our files: of the last commit, unless SOURCE_DATE_EPOCH says otherwise.
epoch() { printf '%s\n' "${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct)}"; }
