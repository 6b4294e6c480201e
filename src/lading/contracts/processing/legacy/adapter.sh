#!/bin/sh
# Runs a legacy container's program unchanged as a processing-container.
#
#   /bin/sh /legacy-adapter.sh PROGRAM [ARGUMENT...]
#
# A processing-container finds <item>/<files> in its input channels and leaves the same in its output
# channels. The program expects one directory for everything:
#
#   $WORKFLOW_DIR/$BATCH_NAME/<item>/$OPERATOR_IN_DIR/<files>     what it reads
#   $WORKFLOW_DIR/$BATCH_NAME/<item>/$OPERATOR_OUT_DIR/<files>    what it writes
#   $WORKFLOW_DIR/$OPERATOR_IN_DIR, $WORKFLOW_DIR/$OPERATOR_OUT_DIR    the same for the whole batch
#   $WORKFLOW_DIR/conf/conf.json                                  how the run is configured
#
# This script makes that directory, runs the program, and hands over what it wrote, also after a
# failure. The program's exit code is this script's. It needs a POSIX shell, mkdir and cp (ln and rmdir
# where links are chosen), and no privilege: it runs as the image's user.
#
# Set by the template in processing-container.json, which describes each of them:
#
#   LEGACY_INPUTS, LEGACY_OUTPUTS   VARIABLE=MOUNTED_PATH ..., the channels: which variable names the
#                                   program's directory for it
#   LEGACY_INPUT_AS                 copy | link-files | link-folders
#   LEGACY_OUTPUT_AS                copy | link
#   LEGACY_LOOSE_FILES              auto | item | batch
#   LEGACY_CONF                     content of conf.json
#   LEGACY_UNSET_IF_EMPTY           names of variables that are not set at all where they are empty
#
# Hidden entries of a channel (.DS_Store, .snapshot) are no items: the program's own `*` never saw them.

set -u

say() { printf 'legacy adapter: %s\n' "$*" >&2; }

# 74 is "input/output error" in sysexits.h. Never 126: Airflow takes that for "skip this task".
fail() {
    say "$1"
    exit "${2:-74}"
}

chosen() { # VARIABLE VALUE CHOICE...
    variable=$1 value=$2
    shift 2
    for choice; do
        [ "$value" != "$choice" ] || return 0
    done
    fail "$variable is '$value', but may only be one of: $*" 64
}

named() { # what may stand in an eval
    case $1 in
    '' | [0-9]* | *[!A-Za-z0-9_]*) fail "'$1' is no name of a variable" 64 ;;
    esac
}

# Splits "VARIABLE=MOUNTED_PATH" into $variable, $channel, and $folder, the variable's value.
split() {
    variable=${1%%=*} channel=${1#*=}
    named "$variable"
    eval "folder=\${$variable:-}"
    [ -n "$folder" ] || fail "$variable is empty: it names the program's directory for $channel" 64
}

# Inputs. The default is to copy them, as that alone looks to every program like what it knows: a
# program may change its inputs in place (channels are read-only), remove the directory when it is
# done (shutil.rmtree refuses a link), or list it with `find DIR` (which does not enter a link) or
# `find -type f` (which leaves out links to files). What it costs is time and the space of a copy.
# link-files makes real directories and a link for each file: breaks in-place changes and `-type f`.
# link-folders makes one link for each item: breaks `find DIR` and rmtree as well, costs nothing.

give() { # SOURCE TARGET: a whole directory
    case $LEGACY_INPUT_AS in
    # -L: a link may lead elsewhere in the channel, where it would lead to nothing from its new place.
    # Not -p: changing owners is more than some are allowed to do, and cp then fails.
    copy) mkdir -p "$2" && cp -R -L "$1/." "$2/" ;;
    # -s is not in POSIX, but GNU, BusyBox and toybox have it: one process, however many files.
    link-files) mkdir -p "$2" && cp -R -s "$1/." "$2/" ;;
    link-folders) mkdir -p "${2%/*}" && ln -s "$1" "$2" ;;
    esac
}

give_file() { # SOURCE DIRECTORY
    mkdir -p "$2" || return
    case $LEGACY_INPUT_AS in
    copy) cp -L "$1" "$2/" ;;
    *) ln -s "$1" "$2/" ;;
    esac
}

incomplete() {
    fail "$1 could not be presented whole to the program (see above); nothing was run. A full disk, or a \
link that leads out of the channel? LEGACY_INPUT_AS=link-folders needs no space and follows no link"
}

present() { # one input channel, after split
    [ -d "$channel" ] || fail "no input channel is mounted at $channel"
    if ! [ -r "$channel" ] || ! [ -x "$channel" ]; then
        fail "the input channel $channel can't be read by the image's user"
    fi
    items=0 loose=0
    for entry in "$channel"/*; do
        if [ -d "$entry" ]; then
            items=$((items + 1))
            give "$entry" "$batch/${entry##*/}/$folder" || incomplete "item '${entry##*/}'"
        elif [ -f "$entry" ]; then
            loose=$((loose + 1))
        elif [ -L "$entry" ]; then
            fail "'$entry' is a link that leads to nothing in here; put what it means into the channel"
        elif [ -e "$entry" ]; then
            say "'$entry' is neither a file nor a directory, and left out"
        fi
    done
    [ "$loose" -eq 0 ] || present_loose
}

# Files directly in a channel belong to no item. Beside items they are the batch's, where programs
# look that know such files and others overlook them. Without any item they are one.
present_loose() {
    where=$LEGACY_LOOSE_FILES
    if [ "$where" = auto ]; then
        where=batch
        [ "$items" -gt 0 ] || where=item
    fi
    if [ "$where" = item ]; then
        target=$batch/item/$folder
        say "$channel has files of no item: the program gets them as the item 'item'"
    else
        target=$WORKFLOW_DIR/$folder
        say "$channel has files of no item: the program gets them in $target"
    fi
    if [ "$items" -eq 0 ]; then
        give "$channel" "$target" || incomplete "$channel"
        return
    fi
    for entry in "$channel"/*; do
        [ -d "$entry" ] || ! [ -f "$entry" ] || give_file "$entry" "$target" || incomplete "'$entry'"
    done
}

# Outputs. The default is to copy them once the program has ended: it finds no directory there before,
# as it always did (os.makedirs refuses one that exists). link lets it write straight into the
# channel: no second copy, and what was written is there even if the container is killed at once.

prepare() { # one output channel, after split
    [ -d "$channel" ] || fail "no output channel is mounted at $channel"
    [ -w "$channel" ] || fail "the output channel $channel can't be written by the image's user: \
let that user write to the directory, or run the container as another"
    [ "$LEGACY_OUTPUT_AS" = link ] || return 0
    for item in "$batch"/*; do
        [ -d "$item" ] || continue
        lead "$channel/${item##*/}" "$item/$folder"
    done
    lead "$channel" "$WORKFLOW_DIR/$folder"
}

lead() { # CHANNEL LINK
    if [ -e "$2" ] || [ -L "$2" ]; then
        fail "$2 holds inputs: with LEGACY_OUTPUT_AS=link, $variable must name another directory" 64
    fi
    if ! mkdir -p "$1" "${2%/*}" || ! ln -s "$1" "$2"; then
        fail "$2 could not be linked to the output channel"
    fi
}

hand_over() { # one output channel, after split
    items=0 without=0 first=
    for item in "$batch"/*; do # also those that the program has made
        [ -d "$item" ] || continue
        items=$((items + 1)) name=${item##*/}
        if ! [ -d "$item/$folder" ]; then
            without=$((without + 1))
            first=${first:-$name}
            continue
        fi
        take "$item/$folder" "$channel/$name"
    done
    if [ "$without" -gt 0 ]; then
        say "$without of $items items have no output in $channel, the first is '$first'"
    fi
    [ ! -d "$WORKFLOW_DIR/$folder" ] || take "$WORKFLOW_DIR/$folder" "$channel"
}

take() { # SOURCE TARGET
    if [ "$LEGACY_OUTPUT_AS" = link ] && [ -L "$1" ]; then
        # It is there already. An item of which nothing came is not to look like one that has results.
        [ "$2" = "$channel" ] || rmdir "$2" 2>/dev/null
        return 0
    fi
    # -L: a link to an input or to the workflow's directory means nothing outside of this container.
    if ! mkdir -p "$2" || ! cp -R -L "$1/." "$2/"; then
        say "not all of $1 could be handed over (see above)"
        lost=yes
    fi
}

# Begin. As process 1, a shell ignores every signal for which it has no trap.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

[ $# -gt 0 ] || fail "no program: the image's ENTRYPOINT must end with the old container's" 64
for tool in mkdir cp; do
    command -v "$tool" >/dev/null || fail "the image has no '$tool', which this script needs" 69
done
found=$(command -v "$1") || fail "the program '$1' is not in the image" 127
case $found in
*/*) [ -f "$found" ] && [ -x "$found" ] || fail "the program '$1' can't be executed" 127 ;;
esac

: "${WORKFLOW_DIR:=/tmp/workflow}" "${BATCH_NAME:=batch}"
: "${OPERATOR_IN_DIR:=input}" "${OPERATOR_OUT_DIR:=output}"
: "${LEGACY_INPUTS:=OPERATOR_IN_DIR=/inputs}" "${LEGACY_OUTPUTS:=OPERATOR_OUT_DIR=/outputs}"
: "${LEGACY_INPUT_AS:=copy}" "${LEGACY_OUTPUT_AS:=copy}" "${LEGACY_LOOSE_FILES:=auto}"
: "${LEGACY_UNSET_IF_EMPTY:=}"
if [ -z "${LEGACY_CONF:-}" ]; then LEGACY_CONF={}; fi
chosen LEGACY_INPUT_AS "$LEGACY_INPUT_AS" copy link-files link-folders
chosen LEGACY_OUTPUT_AS "$LEGACY_OUTPUT_AS" copy link
chosen LEGACY_LOOSE_FILES "$LEGACY_LOOSE_FILES" auto item batch
case $WORKFLOW_DIR in
/*) ;;
*) WORKFLOW_DIR=/$WORKFLOW_DIR ;; # as in os.path.join("/", os.environ["WORKFLOW_DIR"], ...)
esac
batch=$WORKFLOW_DIR/$BATCH_NAME
BATCHES_INPUT_DIR=$batch
export WORKFLOW_DIR BATCH_NAME BATCHES_INPUT_DIR OPERATOR_IN_DIR OPERATOR_OUT_DIR

for name in $LEGACY_UNSET_IF_EMPTY; do
    named "$name"
    eval "[ -n \"\${$name:-}\" ] || unset $name"
done

if ! mkdir -p "$batch" "$WORKFLOW_DIR/conf" ||
    ! printf '%s\n' "$LEGACY_CONF" >"$WORKFLOW_DIR/conf/conf.json"; then
    fail "WORKFLOW_DIR $WORKFLOW_DIR can't be written by the image's user; one below /tmp can"
fi
for pair in $LEGACY_INPUTS; do split "$pair" && present; done
for pair in $LEGACY_OUTPUTS; do split "$pair" && prepare; done

# The program. It runs in the background, as a shell hears no signal while it waits for one in the
# foreground. Signals are passed on to it alone, as it got them when it was process 1. SIGINT becomes
# SIGTERM: what a shell starts in the background ignores SIGINT.
program='' pending='' heard=''
forward() {
    heard=yes
    if [ -n "$program" ]; then kill -s "$1" "$program" 2>/dev/null; else pending=$1; fi
}
trap 'forward HUP' HUP
trap 'forward TERM' INT
trap 'forward QUIT' QUIT
trap 'forward TERM' TERM
trap 'forward USR1' USR1
trap 'forward USR2' USR2
# exec: a program that is called as one of our functions is none. 3: a shell gives what it starts in
# the background /dev/null to read, before it looks at what else is said about that.
exec 3<&0
exec "$@" <&3 3<&- &
program=$!
[ -z "$pending" ] || kill -s "$pending" "$program" 2>/dev/null
wait "$program"
code=$?
while [ -n "$heard" ]; do # a signal ends a wait before the program has ended
    heard=''
    wait "$program"
    again=$?
    [ "$again" -eq 127 ] || code=$again # 127: it had ended, and that was told already
done

# What it wrote is handed over whatever it says, and though somebody wants us to end: the engine's
# patience is the limit.
trap '' HUP INT QUIT TERM USR1 USR2
lost=
for pair in $LEGACY_OUTPUTS; do split "$pair" && hand_over; done
if [ -n "$lost" ] && [ "$code" -eq 0 ]; then code=74; fi
exit "$code"
