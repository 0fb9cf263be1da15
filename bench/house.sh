# house.sh - the program itself: its size, its start, its rest, and (with BUILDS=1) its build; sourced by bench/run.

house_build() {                                   # house_build ITEM ARGUMENTS...: a clean build, minutes
  local item=$1 start=$EPOCHREALTIME; shift
  rm -rf "$scratch/build"
  (cd "$repository" && swift build --scratch-path "$scratch/build" "$@") >"$scratch/build.log" 2>&1 ||
    die "the build failed: $(grep -m 3 error: "$scratch/build.log")"
  result "$item" tulle 1 "$(per "$EPOCHREALTIME - $start" 60)"
  rm -rf "$scratch/build"
}

house() {
  local n line
  say "the program"
  result size tulle 1 "$(per "$(stat -c %s "$TULLE")" 1e6)"
  n=0; while read -r line; do result version tulle $((++n)) "$(value ms "$line")"; done < <("$tool" time 50 "$TULLE" version)
  # An agent of another directory starts on no host that has networks.
  lab down; lab up 1
  for ((n = 1; n <= 3; n++)); do                  # of a cluster of its own, without networks
    lab agent h1 --state-dir /var/lib/idle; sleep 5
    result idle tulle "$n" "$(per "$(sed -nE 's/^VmRSS:\s*([0-9]*) kB/\1/p' /proc/"$(agent_pid h1)"/status)" 1024)"
    lab kill agent h1
  done
  [ -z "${BUILDS-}" ] || {
    house_build build-debug --build-tests; progress "debug build"
    # shellcheck disable=SC2046
    house_build build-release $(make -s -C "$repository" release-flags)
    progress "release build"
  }
}
