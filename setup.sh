#!/usr/bin/env bash
# Install what demo.sh and test.sh need: a .venv with the pinned requirements, and a few Debian packages.
# Both call it; it can also be run alone. Once everything is installed it takes under a second.
# bash setup.sh --tests  also installs shellcheck, a headless Chromium, pdftotext, fonts and, for root, Slurm, if apt can
#                        be used; without them some tests are skipped
#
# TORCH_INDEX_URL  pip index for torch on a machine without a GPU: PyTorch's own CPU index, see README.md
# PYTHON           the Python of the .venv (default: python3, or the first of python3.13 ... python3.11 that exists)
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

# install_debian PURPOSE PACKAGE...
install_debian() {
  local purpose=$1 sudo=()
  shift
  if ((EUID != 0)); then sudo=(sudo -n); fi
  if ! command -v apt-get > /dev/null || ! "${sudo[@]}" true 2> /dev/null; then
    fail "$purpose needed: install these Debian packages, or what your system calls them, and run this again: $*"
  fi
  echo "setup.sh: installing $* ($purpose)"
  # The package list may be missing or old: if the first try fails, update it.
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
    # Check first what pip would install: the default build brings several GB of CUDA packages.
    if "${pip[@]}" --dry-run --report .venv/torch.json "$version" > /dev/null &&
      grep -qiE '"name": *"(nvidia-|cuda-|triton)' .venv/torch.json; then
      fail "no GPU found, and pip would install the CUDA build of torch (several GB). Set TORCH_INDEX_URL to PyTorch's" \
        "CPU index (see README.md) and run this again"
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
  command -v pdftotext > /dev/null || packages+=(poppler-utils)
  fonts=$(fc-list --format '%{file}\n' 2> /dev/null || true)
  for font in DejaVuSans.ttf=fonts-dejavu-core wqy-zenhei.ttc=fonts-wqy-zenhei ipam.ttf=fonts-ipafont-mincho; do
    [[ $fonts == *"/${font%=*}"* ]] || packages+=("${font#*=}")
  done
  # The job scripts are tested on a real Slurm, whose daemons need root. An installed Slurm is kept.
  if ((EUID == 0)) && ! command -v sbatch > /dev/null; then packages+=(slurm-wlm munge); fi
  # In a subshell: without these packages the other tests still run.
  ((${#packages[@]} == 0)) || (install_debian "tools that some tests use are" "${packages[@]}") ||
    echo "setup.sh: continuing without ${packages[*]}; the tests that need them are skipped"
fi

# The marker is named after the hash of requirements.txt: a change or an interrupted installation is installed again.
mark=.venv/complete-$(sha256sum requirements.txt | cut -c1-16)
if [[ ! -e $mark ]]; then
  python=$(find_python)
  echo "setup.sh: creating .venv with $("$python" --version) and the packages of requirements.txt (minutes, once)"
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
