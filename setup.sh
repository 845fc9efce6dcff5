#!/usr/bin/env bash
# What demo.sh and test.sh need: a .venv with the pinned requirements, and a few Debian packages.
# Run it alone (bash setup.sh), or let the two commands call it. Once complete it costs under a second.
# bash setup.sh --tests  also shellcheck, a headless Chromium, fonts and, for root, Slurm, where apt may: without them some
#                        tests are skipped
#
# TORCH_INDEX_URL  where the CPU build of torch comes from on a machine without a GPU: set it to the PyTorch project's
#                  own CPU index, as its "Get started" page gives it for pip, CPU (not needed with a GPU)
# PYTHON           the Python to build the .venv with (default: the first of python3.13 ... python3.11, python3 that fits)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if (($# > 1)) || [[ ${1:---tests} != --tests ]]; then
  echo "setup.sh: unknown argument ${*} (only --tests)" >&2
  exit 2
fi

fail() {
  echo "setup.sh: $*" >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer found (tried ${PYTHON:-python3 and python3.11 to 3.13}); install one, or set PYTHON to it"
}

# Debian packages: $1 says what they are for, the rest are the packages.
install_debian() {
  local purpose=$1 sudo=()
  shift
  if ((EUID != 0)); then sudo=(sudo -n); fi
  if ! command -v apt-get > /dev/null || ! "${sudo[@]}" true 2> /dev/null; then
    fail "$purpose needed: install these Debian packages, or what your system calls them, and run this again: $*"
  fi
  echo "setup.sh: installing $* ($purpose)"
  # A package list that was never fetched, or is old, knows nothing: try as it is, then fetch it.
  local install=(apt-get install -y -qq --no-install-recommends "$@")
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" > /dev/null 2>&1; then
    "${sudo[@]}" apt-get update -qq || true
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" > /dev/null ||
      fail "apt-get could not install $*; $purpose needed, so install them by hand and run this again"
  fi
}

install_torch() {
  local pip=(.venv/bin/python -m pip install --disable-pip-version-check -q) version
  version=$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.txt)
  if .venv/bin/python -c 'import torch' 2> /dev/null; then return; fi
  if command -v nvidia-smi > /dev/null && nvidia-smi -L > /dev/null 2>&1; then
    "${pip[@]}" "$version"
  elif [[ -n ${TORCH_INDEX_URL:-} ]]; then
    "${pip[@]}" "$version" --index-url "$TORCH_INDEX_URL"
  else
    # Ask first what would come: the ordinary build brings gigabytes of CUDA that this machine cannot use.
    if "${pip[@]}" --dry-run --report .venv/torch.json "$version" > /dev/null &&
      grep -qiE '"name": *"(nvidia-|cuda-|triton)' .venv/torch.json; then
      fail "no GPU here, and the torch that pip would take brings gigabytes of CUDA. Set TORCH_INDEX_URL to the PyTorch" \
        "project's own CPU index (its \"Get started\" page, pip, CPU) and run this again"
    fi
    "${pip[@]}" "$version"
  fi
}

tesseract_languages=(eng fra spa rus deu chi_sim jpn ara osd)
packages=()
command -v g++ > /dev/null || packages+=(g++)
command -v pkill > /dev/null || packages+=(procps)
command -v git > /dev/null || packages+=(git)
((${#packages[@]} == 0)) || install_debian "tools that DeepSpeed's extensions and the job scripts use are" "${packages[@]}"
have=$(tesseract --list-langs 2> /dev/null || true)
packages=()
for language in "${tesseract_languages[@]}"; do
  grep -qx "$language" <<< "$have" || packages+=("tesseract-ocr-${language//_/-}")
done
if ! command -v tesseract > /dev/null; then packages+=(tesseract-ocr); fi
((${#packages[@]} == 0)) || install_debian "Tesseract and its languages, which read scanned pages, are" "${packages[@]}"

if [[ ${1:-} == --tests ]]; then
  packages=()
  command -v shellcheck > /dev/null || packages+=(shellcheck)
  command -v chromium > /dev/null || packages+=(chromium)
  command -v chromedriver > /dev/null || packages+=(chromium-driver)
  command -v fc-list > /dev/null || packages+=(fontconfig)
  fonts=$(fc-list --format '%{file}\n' 2> /dev/null || true)
  for font in DejaVuSans.ttf=fonts-dejavu-core wqy-zenhei.ttc=fonts-wqy-zenhei ipam.ttf=fonts-ipafont-mincho; do
    [[ $fonts == *"/${font%=*}"* ]] || packages+=("${font#*=}")
  done
  # The job scripts are tried on a real Slurm, whose nodes take root. A machine that has Slurm's commands keeps its own.
  if ((EUID == 0)) && ! command -v sbatch > /dev/null; then packages+=(slurm-wlm munge); fi
  # In a shell of its own: a machine without these can still run the other tests.
  ((${#packages[@]} == 0)) || (install_debian "tools that some tests use are" "${packages[@]}") ||
    echo "setup.sh: going on without ${packages[*]}; the tests that use them are skipped"
fi

# The mark carries the requirements it was made from: changed requirements are installed, a killed install is finished.
mark=.venv/complete-$(sha256sum requirements.txt | cut -c1-16)
if [[ ! -e $mark ]]; then
  python=$(find_python)
  echo "setup.sh: making .venv with $("$python" --version) and the packages of requirements.txt (minutes, once)"
  if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    rm -rf .venv
    if ! "$python" -m venv .venv 2> /dev/null; then
      rm -rf .venv
      install_debian "the venv module of $("$python" --version) is" python3-venv
      "$python" -m venv .venv
    fi
  fi
  install_torch
  .venv/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt
  touch "$mark"
fi
include=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
[[ -e $include/Python.h ]] || install_debian "Python's headers, which DeepSpeed's extensions are compiled with, are" python3-dev
