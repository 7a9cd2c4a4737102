"""Ensembles: many forecasts that differ as much as the forecast is uncertain.

Nothing here is trained. The stochastic members are made in the moving frame of
`squall.convgru.heads`: their scale bands get noise for what is forgotten, their motion and their
amounts are perturbed. Start reading at `members.py` (`stochastic_members`). The marginal members
are drawn from the chances of a network, with the same noise: `marginal.py` (`marginal_members`). A
mixed ensemble has members of both kinds: `mixed.py` (`mixed_members`). The numbers of all are in
`settings.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
