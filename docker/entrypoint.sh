#!/bin/sh
# Runs a line of the Procfile (web, worker, beat), or the manage.py command that is given.
set -eu
case "$1" in
  web | worker | beat) exec sh -c "$(sed -n "s/^$1: //p" Procfile)" ;;
  *) exec python manage.py "$@" ;;
esac
