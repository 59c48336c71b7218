# Runs COMMAND of the document DOC, after what it presupposes beside what prepare.sh made.
here=$(dirname "$0")
. "$here/environment.sh"
. "$here/before.sh"
eval "$COMMAND"
