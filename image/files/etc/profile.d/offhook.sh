# shellcheck shell=sh
# Whoever types `offhook` at the box's own console means the box: the same files as its units (systemd/).
export OFFHOOK_CONFIG=/etc/offhook/offhook.toml STATE_DIRECTORY=/var/lib/offhook
export OFFHOOK__MACHINE__DIRECTORY=/var/lib/offhook-machine OFFHOOK_MODELS=/var/cache/offhook/models
