"""Parts of a network that stop training: their parameters and their batch norm."""

from torch import nn

from ._feature_tap import unwrapped

__all__ = ["freeze", "frozen_layers", "thaw"]


def frozen_layers(module, names, feature_layer):
    """Names of the layers that ``freeze=`` means, and of their parameters.

    Parameters
    ----------
    module : nn.Module
    names : True, str or list of str
        True: everything but ``feature_layer`` and what is inside it.
    feature_layer : str or None

    Raises
    ------
    ValueError
        If a name is unknown, or True has no feature layer to leave.
    """
    layers = [name for name, _ in module.named_modules() if name]
    parameters = [name for name, _ in module.named_parameters()]
    if names is True:
        if feature_layer is None:
            raise ValueError(
                "freeze=True trains the feature layer alone, and feature_layer is None. Name what to freeze, such as "
                "freeze='encoder'."
            )

        def chosen(name):
            return not _within(name, feature_layer) and not _within(feature_layer, name)

    else:
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in layers]
        if unknown:
            raise ValueError(f"freeze names no layer of the module: {unknown}. Its layers are: {', '.join(layers)}.")

        def chosen(name):
            return any(_within(name, frozen) for frozen in names)

    return [name for name in layers if chosen(name)], [name for name in parameters if chosen(name)]


def _within(name, layer):
    return name == layer or name.startswith(layer + ".")


def freeze(module, layers, parameters):
    """Stop the training of layers of a (compiled, wrapped) module, until :func:`thaw`.

    Raises
    ------
    ValueError
        If the module is wrapped by DistributedDataParallel, which would wait for the gradients of frozen parameters.
    """
    if isinstance(module, nn.parallel.DistributedDataParallel) and not module.find_unused_parameters:
        raise ValueError(
            "Freezing leaves parameters without gradients, for which DistributedDataParallel waits. Pass "
            "kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)] to the Accelerator."
        )
    if any(isinstance(hook, _Frozen) for hook in module._forward_pre_hooks.values()):
        return
    own = dict(unwrapped(module).named_parameters())
    stopped = [name for name in parameters if own[name].requires_grad]
    for name in stopped:
        own[name].requires_grad_(False)
    # on the outermost module, so that it runs before, not inside, what torch.compile has traced
    module.register_forward_pre_hook(_Frozen(layers, stopped))


def thaw(module):
    """Undo :func:`freeze`, where it was done: what the user has frozen stays frozen."""
    inner = unwrapped(module)
    modules, parameters = dict(inner.named_modules()), dict(inner.named_parameters())
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, _Frozen):
            del module._forward_pre_hooks[key]
            for name in hook.parameters:
                parameters[name].requires_grad_(True)
            for name in hook.layers:
                modules[name].training = inner.training


class _Frozen:
    """What is frozen, on the module: a hook that undoes what ``module.train()`` did to batch norm and dropout."""

    def __init__(self, layers, parameters):
        self.layers = layers
        self.parameters = parameters  # that had gradients before

    def __call__(self, module, args):
        if module.training:
            own = dict(unwrapped(module).named_modules())
            for name in self.layers:
                own[name].training = False
