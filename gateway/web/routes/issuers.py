"""Issuers."""

ENDPOINTS = ()
