# Finds `fwn`: the active environment's, or that of the repository (make demo creates it).
root=$(cd "$recipe_dir/../.." && pwd)
command -v fwn >/dev/null || export PATH="$root/.venv/bin:$PATH"
command -v fwn >/dev/null || {
  echo "fwn is not installed: run tools/install.sh in $root" >&2
  exit 1
}
