# Sourced: no request leaves this machine, and no setting of a person counts.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
unset all_proxy ALL_PROXY HTTP_PROXY HTTPS_PROXY NO_PROXY MIRROR_CONTACT
export http_proxy=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 no_proxy=localhost,127.0.0.1
