# shellcheck shell=bash
operator_cleanup() { :; }
