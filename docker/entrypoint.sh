#!/bin/sh
# Runs a line of the Procfile (web, worker, prompt, alerts, beat), or the manage.py command that is given.
set -eu
case "$1" in
  web | worker | prompt | alerts | beat) exec sh -c "$(sed -n "s/^$1: //p" Procfile)" ;;
  *) exec python manage.py "$@" ;;
esac
