"""Who may do what among three members that are peered: the product beside a plain model."""
