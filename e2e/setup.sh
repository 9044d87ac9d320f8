#!/bin/bash
# setup.sh: makes this machine (Debian 12) fit for the end-to-end tests and the demo.
#
#   setup.sh                  installs what is missing and builds the programs of cluster/ and builder/
#   setup.sh --with-clients   also kubectl and buildctl, for benchmarks and for looking around
#   setup.sh --plan           says what it would do, and does nothing
#   setup.sh --print-bin      prints the directory of the programs, and does nothing
#
# The programs lie outside the repository, in a directory named after the hash of their sources: a change of these builds anew, all else reuses.
# Two at once are safe: the second waits for the first.
set -euo pipefail
cd "$(dirname "$0")"
export GOTOOLCHAIN=local CGO_ENABLED=0 LC_ALL=C

packages=(containerd runc containernetworking-plugins iptables docker-registry busybox-static)
services=(containerd docker-registry) # of packages, those whose service of the same name Debian starts by itself

programs=(pause cluster builder buildkitd)
do_plan='' do_print=''
for argument; do
  case $argument in
  --plan) do_plan=yes ;;
  --print-bin) do_print=yes ;;
  --with-clients) programs+=(kubectl buildctl) ;;
  *) sed -n '2,7s/^# \{0,1\}//p' setup.sh >&2; exit 2 ;;
  esac
done

cache=${SHIPMATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shipmate}
hash=$(find setup.sh cluster builder -type f \( -name '*.go' ! -name '*_test.go' -o -name 'go.*' -o -name setup.sh \) ! -path '*/testdata/*' -print0 |
  sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
bin=$cache/$hash
if [[ $do_print ]]; then
  echo "$bin"
  exit
fi

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# source_of PROGRAM sets module, package, tags and ldflags. Programs that tell their version get it: clients of Kubernetes fail without.
source_of() {
  tags='' ldflags='-s -w'
  case $1 in
  pause) module=cluster package=./pause ;;
  cluster) module=cluster package=. ;;
  kubectl) module=cluster package=k8s.io/kubernetes/cmd/kubectl ;;
  builder) module=builder package=. ;;
  buildkitd | buildctl) module=builder package=github.com/moby/buildkit/cmd/$1 ;;
  esac
  local version minor x
  case $1 in
  cluster | kubectl)
    version=$(cd "$module" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
    IFS=. read -r _ minor _ <<<"$version"
    x=k8s.io/component-base/version
    tags=providerless
    ldflags+=" -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=$minor -X $x.gitTreeState=clean -X $x.gitCommit=module -X $x.buildDate=1970-01-01T00:00:00Z"
    ;;
  buildkitd | buildctl)
    version=$(cd "$module" && go list -m -f '{{.Version}}' github.com/moby/buildkit)
    ldflags+=" -X github.com/moby/buildkit/version.Version=$version"
    ;;
  esac
}

# progress PROGRAM TOTAL shows how far "go build -v", its input, has come: on a terminal in one line, else in a line every 30 seconds.
# The estimate is from the packages compiled so far, so it is too high where most of them are cached.
progress() {
  local done=0 start=$SECONDS shown=$SECONDS line status left
  while true; do
    status=0
    IFS= read -r -t 1 line || status=$?
    ((status == 0 || status > 128)) || break # above 128: no input for a second
    if ((status == 0)); then
      case $line in
      'go: downloading '*) ;;
      *[[:space:]]*) printf '%s\n' "$line" >&2 ;; # an error
      *) done=$((done + 1)) ;;
      esac
    fi
    local elapsed=$((SECONDS - start))
    if ((done < 10)); then left=''; elif ((done >= $2 - 5)); then left=', links'; else left=", about $(clock $((elapsed * ($2 - done) / done))) left"; fi
    if [[ -t 1 ]]; then
      printf '\r\033[Ksetup: builds %s: %d of at most %d packages, %s%s' "$1" "$done" "$2" "$(clock $elapsed)" "$left"
    elif ((SECONDS - shown >= 30)); then
      shown=$SECONDS
      printf 'setup: builds %s: %d of at most %d packages, %s%s\n' "$1" "$done" "$2" "$(clock $elapsed)" "$left"
    fi
  done
  if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

build() {
  local start=$SECONDS module package tags ldflags total
  source_of "$1"
  say "builds $1 from $module"
  # This also downloads what isn't there yet.
  total=$(cd "$module" && go list -deps -tags "$tags" "$package" 2> >(grep -v '^go: downloading' >&2) | wc -l)
  (cd "$module" && go build -v -buildvcs=false -tags "$tags" -ldflags "$ldflags" -o "$bin/$1.part" "$package" 2>&1) | progress "$1" "$total"
  mv "$bin/$1.part" "$bin/$1"
  say "built $1 in $((SECONDS - start)) s"
}

command -v dpkg-query >/dev/null || die 'this is not Debian; what it needs are the programs of these packages: '"${packages[*]}"
command -v go >/dev/null || die "go isn't installed; see https://go.dev/dl/"

find_missing() {
  missing=() unwanted=() to_build=() to_reuse=()
  local name
  for name in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] && continue
    missing+=("$name")
    if [[ -d /run/systemd/system && " ${services[*]} " == *" $name "* ]]; then unwanted+=("$name"); fi
  done
  for name in "${programs[@]}"; do
    if [[ -x $bin/$name ]]; then to_reuse+=("$name"); else to_build+=("$name"); fi
  done
}

find_missing
if [[ $do_plan ]]; then
  if ((${#missing[@]})); then
    say "installs, with apt-get: ${missing[*]}"
    if ((${#unwanted[@]})); then say "stops and disables their services, which nothing here needs: ${unwanted[*]}"; fi
  fi
  if ((${#to_reuse[@]})); then say "reuses $bin: ${to_reuse[*]}"; fi
  if ((${#to_build[@]})); then
    say "builds in $bin: ${to_build[*]}"
    say 'with nothing in the Go build cache that is 7 to 20 minutes on two cores, 4 GB of Go build cache and 300 MB of downloads'
  fi
  if ((!${#missing[@]} && !${#to_build[@]})); then say 'has nothing to do'; fi
  exit
fi

mkdir -p "$bin"
exec {lock}>"$cache/lock"
flock --nonblock "$lock" || { say 'waits for another setup.sh'; flock "$lock"; }
find_missing

if ((${#missing[@]})); then
  ((EUID == 0)) || die "run it as root, or: apt-get install ${missing[*]}"
  say "installs ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -q update
  apt-get -q -q -y --no-install-recommends install "${missing[@]}" >/dev/null
  if ((${#unwanted[@]})); then systemctl --quiet disable --now "${unwanted[@]}"; fi
fi
if ((${#to_reuse[@]})); then say "reuses $bin: ${to_reuse[*]}"; fi
for program in "${to_build[@]}"; do build "$program"; done
touch "$bin"
# What no checkout has used for a month is 200 MB for nobody.
find "$cache" -mindepth 1 -maxdepth 1 -type d -regex '.*/[0-9a-f]\{16\}' -mtime +30 -exec rm -rf {} +
say "ready in $SECONDS s: $bin"
