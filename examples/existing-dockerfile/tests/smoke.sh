#!/bin/sh
# Starts the greeter on a port of its own, asks it, stops it.
set -eu

GREETER_PORT=18080
export GREETER_PORT

test "$(id -un)" = greeter
greeter --version
if greeter --check 2> /dev/null; then echo "something answers before the start"; exit 1; fi

greeter --serve &
server=$!
trap 'kill $server' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if greeter --check 2> /dev/null; then echo ok; exit 0; fi
    sleep 0.2
done
echo "no answer"
exit 1
