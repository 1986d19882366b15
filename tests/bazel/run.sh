#!/usr/bin/env bash
# Bazel 4.2.3 of Debian, offline:   tests/bazel/run.sh test //...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here="$PWD/tests/bazel"
rules=/usr/share/bazel/rules
command="${1:?expected a Bazel command, e.g. test //...}"
shift
[[ -d .venv ]] && PATH="$PWD/.venv/bin:$PATH"
exec bazel "$command" \
  --override_repository=rules_python="$here/rules_python" \
  --override_repository=rules_cc="$here/rules_cc" \
  --override_repository=remote_coverage_tools="$here/remote_coverage_tools" \
  --override_repository=rules_java="$rules/java" \
  --override_repository=rules_proto="$rules/proto" \
  --override_repository=platforms=/usr/share/bazel/platforms \
  --action_env=PATH --test_tag_filters=-tensorflow --test_output=errors "$@"
