#!/bin/bash
# setup.sh: makes this machine (Debian 12) fit for the test of the pages in a browser, beside what ../setup.sh installs.
#
#   setup.sh                    installs Chromium, a font for Chinese and, where there is none of version 18 or later, Node.js; fetches the npm packages
#   setup.sh --print-modules    prints the directory of the npm packages, and does nothing
#
# The packages lie outside the repository, in a directory named after the hash of their list. Chromium is Debian's: none is downloaded from elsewhere.
set -euo pipefail
cd "$(dirname "$0")"

cache=${SHIPMATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shipmate}
modules=$cache/$(cat package.json package-lock.json | sha256sum | cut -c1-16) # like those of ../setup.sh, which removes it when nobody has used it for a month
case ${1-} in
--print-modules) echo "$modules"; exit ;;
'') ;;
*) sed -n '2,5s/^# \{0,1\}//p' setup.sh >&2; exit 2 ;;
esac

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
command -v dpkg-query >/dev/null || die 'this is not Debian; what it needs are Chromium, Noto Sans CJK, Node.js 18 or later and npm'

node_is() { command -v node >/dev/null && (($(node -p 'parseInt(process.versions.node)') >= 18)); }
packages=(chromium fonts-noto-cjk)
node_is || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

mkdir -p "$modules"
exec {lock}>"$modules/lock" # its own: ../setup.sh may be busy for long
flock --nonblock "$lock" || { say 'waits for another setup.sh'; flock "$lock"; }
missing=()
for name in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
done
if ((${#missing[@]})); then
  ((EUID == 0)) || die "run it as root, or: apt-get install ${missing[*]}"
  say "installs ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -q update
  apt-get -q -q -y --no-install-recommends install "${missing[@]}" >/dev/null
fi
node_is || die "$(command -v node) is older than version 18; put a newer one before it in PATH"
if [[ ! -e $modules/ready ]]; then
  say "fetches playwright-core and axe-core into $modules"
  cp package.json package-lock.json "$modules"
  (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  touch "$modules/ready"
fi
touch "$modules"
say "ready in $SECONDS s: $(chromium --version 2>/dev/null), node $(node --version)"
