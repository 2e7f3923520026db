"""Features on their way through the network: what the training pass computes anyway."""

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["FeatureTap", "logits_of", "unwrapped"]

# Names of features in a module's output, the plain one first and then that of Hugging Face.
_FEATURES = ("features", "hidden_states")


def unwrapped(module):
    """The user's own module inside those of torch.compile and of data parallelism."""
    while True:
        if hasattr(module, "_orig_mod"):
            module = module._orig_mod
        elif isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        else:
            return module


def logits_of(output):
    """What a module returned without what it returned beside: of a tuple the first, of anything else its logits.

    Raises
    ------
    TypeError
        If there are none.
    """
    if isinstance(output, torch.Tensor):
        return output
    logits = _entry(output, "logits")
    if logits is None and isinstance(output, tuple) and output:
        return output[0]
    if logits is None:
        held = f" with {', '.join(map(repr, output))}" if isinstance(output, Mapping) else ""
        raise TypeError(
            f"The module returns {type(output).__name__}{held}. Let it return logits: as a tensor, as the first "
            "of a tuple, as 'logits' of a dict, or as .logits of an object."
        )
    return logits


def _features_of(output):
    """What a module returned beside its logits, or None."""
    if isinstance(output, torch.Tensor):
        return None
    for name in _FEATURES:
        features = _entry(output, name)
        if features is not None:  # of all layers the last
            return features[-1] if isinstance(features, (tuple, list)) else features
    return output[1] if isinstance(output, tuple) and len(output) > 1 else None


def _entry(output, name):
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


class FeatureTap:
    """Forward hook that keeps the features of the last batch.

    Picklable, and found again on a module that was unpickled or used before, since torch.compile may ignore hooks that
    come after its first trace.
    """

    def __init__(self, feature_layer):
        self.feature_layer = feature_layer
        self.value = None

    @classmethod
    def attach(cls, module, feature_layer):
        """The tap on ``module``: on the input of a layer, or on the second output of the module.

        Raises
        ------
        ValueError
            If there is no layer of that name.
        """
        target = module if feature_layer is None else _find(unwrapped(module), feature_layer)
        hooks = target._forward_hooks if feature_layer is None else target._forward_pre_hooks
        for hook in hooks.values():
            if isinstance(hook, cls):
                return hook
        tap = cls(feature_layer)
        if feature_layer is None:
            target.register_forward_hook(tap)
        else:
            target.register_forward_pre_hook(tap, with_kwargs=True)
        return tap

    def __call__(self, layer, args, last):
        if self.feature_layer is None:  # after the module, whose output is last
            value = _features_of(last)
        else:  # before the layer, whose keyword arguments are last
            value = args[0] if args else next(iter(last.values()))
        self.value = None if value is None else value.detach()

    def take(self):
        """Features of the last forward pass, which then are forgotten; float32 unless float64.

        Raises
        ------
        RuntimeError
            If the feature layer did not run, or ran unseen.
        ValueError
            If the features are not two-dimensional.
        """
        features, self.value = self.value, None
        if features is None:
            raise RuntimeError(self._complaint())
        if features.ndim > 2 and features.shape[2:].numel() == 1:
            features = features.flatten(1)
        if features.ndim != 2:
            raise ValueError(
                f"The features have shape {tuple(features.shape)}, and (batch size, number of features) is wanted. "
                "Pool them: name a layer that comes after the pooling (nn.AdaptiveAvgPool2d(1) and nn.Flatten() for "
                "the maps of a convolution, the mean over tokens for a sequence), or let the module return (logits, "
                "features)."
            )
        return features if features.dtype == torch.float64 else features.float()

    def _complaint(self):
        if self.feature_layer is None:
            return (
                "feature_layer=None takes the features from a module that returns (logits, features), or a dict with "
                "'logits' and 'features', and this one returned something else. Name the layer whose input are the "
                "features, such as feature_layer='head'."
            )
        return (
            f"The feature layer {self.feature_layer!r} has never run. Either the network does not use it, or "
            "torch.compile had traced the network before and ignores what was added since. Name a layer that runs; "
            "with compile=True initialise the net anew, or let the module return (logits, features) with "
            "feature_layer=None."
        )

    def __getstate__(self):
        return {**self.__dict__, "value": None}


def _find(module, name):
    layers = dict(module.named_modules())
    layers.pop("")
    if name not in layers:
        raise ValueError(
            f"feature_layer={name!r} is no layer of {type(module).__name__}. Name the layer whose input are the "
            f"features, most often the last one, out of: {', '.join(layers) or 'none, it has no layers'}. Or let the "
            "module return (logits, features), with feature_layer=None."
        )
    return layers[name]
