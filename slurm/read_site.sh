#!/usr/bin/env bash
# Reads the site's settings, slurm/site.sh (or the file that SITE_FILE names), for the script that sources this:
#   source slurm/read_site.sh submit    sets site_options, what sbatch is to be given
#   source slurm/read_site.sh job       loads the modules, sets PYTHON, container and the network interface
# Without a site.sh nothing is set. A typo in it ends the script with a sentence and exit code 2.
set -euo pipefail

site_file=${SITE_FILE:-slurm/site.sh}
site_known=" partition account qos sbatch_options modules container python network_interface "
site_options=() container=()

site_fail() {
  echo "$site_file: $*" >&2
  exit 2
}

if [[ -n ${SITE_FILE:-} && ! -f $SITE_FILE ]]; then
  site_fail "there is no such file (SITE_FILE names it); slurm/site.example.sh is an example"
fi
if [[ -f $site_file ]]; then
  if grep -q $'\r' "$site_file"; then site_fail "its lines end as on Windows; sed -i 's/\r\$//' FILE mends it"; fi
  # In a shell of its own first: it may stop in the middle, and it tells the names that it sets.
  site_names=$(bash -euo pipefail -c '
    unset partition account qos sbatch_options modules container python network_interface
    had=" had name kind _ BASH_LINENO BASH_ARGC BASH_ARGV FUNCNAME PIPESTATUS BASH_REMATCH $(compgen -v | tr "\n" " ")"
    source "$1" > /dev/null
    for name in $(compgen -v); do
      [[ $had != *" $name "* ]] || continue
      kind=plain
      case $name:$(declare -p "$name") in
        sbatch_options:"declare -a"* | modules:"declare -a"* | container:"declare -a"*) ;;
        sbatch_options:* | modules:* | container:*) kind=word ;;
        *:"declare -x "* | *:"declare -"[a-zA-Z]"x"*) kind=exported ;;
      esac
      echo "$kind $name"
    done' bash "$site_file" 2>&1) || site_fail "it stops with an error: $(paste -sd ';' <<< "${site_names:-exit code $?}")"
  while read -r site_kind site_name; do
    case $site_kind:$site_name in
      word:*) site_fail "$site_name is a list, each word by itself: $site_name=(WORD WORD ...)" ;;
      exported:SBATCH_* | exported:SLURM_*) site_fail "$site_name: options of sbatch go into sbatch_options=(...)" ;;
      plain:*) [[ $site_known == *" $site_name "* ]] ||
        site_fail "unknown setting $site_name; the settings are:${site_known% } (to set it for the jobs, export it)" ;;
    esac
  done <<< "$site_names"
  partition='' account='' qos='' sbatch_options=() modules=() python='' network_interface=''
  # shellcheck source=slurm/site.example.sh
  source "$site_file" >&2 # what it prints is not a job's number
  case ${1:-} in
    submit)
      [[ -z $partition ]] || site_options+=("--partition=$partition")
      [[ -z $account ]] || site_options+=("--account=$account")
      [[ -z $qos ]] || site_options+=("--qos=$qos")
      site_options+=("${sbatch_options[@]}")
      ;;
    job)
      if ((${#modules[@]})); then
        set +u # module's own code is not written for it
        for site_init in "${LMOD_PKG:-}/init/bash" "${MODULESHOME:-}/init/bash" /etc/profile.d/{lmod,modules}.sh; do
          # shellcheck source=/dev/null
          if ! type -t module > /dev/null && [[ -r $site_init ]]; then source "$site_init"; fi
        done
        type -t module > /dev/null || site_fail "modules=(...), but $(hostname) has no command module"
        for site_name in "${modules[@]}"; do
          module load "$site_name" || site_fail "module load $site_name failed on $(hostname)"
        done
        set -u
      fi
      if [[ -n $network_interface ]]; then
        [[ -e /sys/class/net/$network_interface ]] || site_fail "network_interface=$network_interface, but" \
          "$(hostname) has only $(cd /sys/class/net && echo *)"
        export GLOO_SOCKET_IFNAME=$network_interface NCCL_SOCKET_IFNAME=$network_interface
      fi
      if [[ -n $python && -z ${PYTHON:-} ]]; then PYTHON=$python; fi
      ;;
    *) site_fail "read_site.sh is sourced with the word submit or job" ;;
  esac
fi
