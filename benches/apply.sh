# shellcheck shell=bash
apply_cleanup() { :; }
