#!/bin/sh
# Another program of the same image: lists what each item holds, and changes its input in place.
set -eu

PATTERN=${PATTERN:-*.txt}
for item in "$BATCHES_INPUT_DIR"/*; do
    mkdir "$item/$OPERATOR_OUT_DIR"
    find "$item/$OPERATOR_IN_DIR" -type f -name "$PATTERN" -exec sed -i 's/a/A/g' {} \;
    find "$item/$OPERATOR_IN_DIR" -type f -name "$PATTERN" -exec cat {} + >"$item/$OPERATOR_OUT_DIR/all"
done
trap 'echo ended; exit 9' TERM
if [ -n "${HANG:-}" ]; then
    echo hanging
    sleep 60 &
    wait
fi
exit "${CODE:-0}"
