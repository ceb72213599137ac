"""Several members in one run: who is whose peer, who may do what at another's, and what goes wrong between them."""
