# common.sh - what the scripts share; sourced, with $repository set.

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() { echo "${0##*/}: $*" >&2; exit 1; }

# sudo replaces PATH, and with it the way to a toolchain in an unusual place.  The
# environment of sudo itself is still the caller's: look there.
find_swift() {
  command -v swift >/dev/null && return
  local pid=$$ path
  while [ "${pid:-0}" -gt 1 ]; do
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sudo ]; then
      path=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PATH=//p')
      if PATH=$path command -v swift >/dev/null; then
        PATH=$PATH:$path
        # A toolchain under swiftly finds itself by the caller's home.
        [ -z "${SUDO_USER-}" ] || export SWIFTLY_HOME_DIR="${SWIFTLY_HOME_DIR:-$(getent passwd "$SUDO_USER" | cut -d: -f6)/.local/share/swiftly}"
        return
      fi
    fi
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
  done
  die "there is no swift on PATH: install a Swift 6.2 (or later) toolchain from swift.org and put its usr/bin on PATH"
}

# Root's build products in somebody's checkout become that person's.
give_back() {
  [ "$(id -u)" != 0 ] || [ ! -e "$repository/.build" ] || chown -R --reference="$repository" "$repository/.build" || true
}

# end_session SIGNAL PID: the process and all that it started; `swift test` does not take the tests' process along.
end_session() {
  local signal=$1 leader=$2 stat line words
  for stat in /proc/[0-9]*/stat; do
    # PID (COMMAND) STATE PARENT GROUP SESSION ...
    { read -r line <"$stat"; } 2>/dev/null || continue
    read -ra words <<<"${line##*) }"
    [ "${words[3]}" != "$leader" ] || kill -"$signal" "${line%% *}" 2>/dev/null || true
  done
}

elapsed() { echo $((SECONDS - $1)); }

# step LABEL LOG CMD...: run CMD with its output in LOG, and show that time passes: in
# place on a terminal, a line each 30 s elsewhere.  A failure shows the log's end.
# Meanwhile its session is $running: who leaves early ends that (end_session).
running=
step() {
  local label=$1 log=$2 start=$SECONDS pid status=0 told=0; shift 2
  [ -t 1 ] || echo "$label ..."
  setsid "$@" >"$log" 2>&1 </dev/null &
  pid=$! running=$!
  while kill -0 "$pid" 2>/dev/null; do
    if [ -t 1 ]; then
      # A build says how far it is: [123/456].
      printf '\r%s ... %d s %s\033[K' "$label" "$(elapsed "$start")" "$(tail -c 400 "$log" | grep -o '\[[0-9]*/[0-9]*\]' | tail -1)"
    elif [ $(($(elapsed "$start") / 30)) -gt $told ]; then
      told=$(($(elapsed "$start") / 30)); echo "  ... $(elapsed "$start") s"
    fi
    sleep 0.2
  done
  wait "$pid" || status=$?
  running=
  [ ! -t 1 ] || printf '\r\033[K'
  if [ $status = 0 ]; then
    if [ -t 1 ]; then echo "$label: $(elapsed "$start") s"; else echo "  done in $(elapsed "$start") s"; fi
  else
    echo "$label: FAILED after $(elapsed "$start") s"
    { grep -m 20 'error:' "$log" || tail -n 30 "$log"; } | sed 's/^/  | /'
  fi
  return $status
}
