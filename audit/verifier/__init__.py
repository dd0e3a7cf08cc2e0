"""The stand-alone verifier of evidence bundles. It imports the standard library and ``cryptography``, and nothing else:
copy this directory anywhere, and ``python -m verifier BUNDLE --key VKEY`` runs.
"""
