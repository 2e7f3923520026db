"""What an epoch does, from its number and the parameters alone."""

from dataclasses import dataclass

__all__ = ["EpochPlan", "first_weighted_epoch"]


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch does about the weights.

    Attributes
    ----------
    stage_2 : bool
        Whether stage 1, of plain loss, is over.
    catch_up : bool
        Before the epoch weights are learned by a clean pass: those there were belong to other data.
    batchwise : bool
        Each mini-batch is weighed by itself.
    collect : bool
        The training pass keeps the features that it computes, for the refit after it.
    read : bool
        At the end of the epoch the trusted samples are asked how reliable the labels are: after the first, second,
        fourth, eighth, ... epoch of stage 1, while the network has not fitted single labels.
    refit : bool
        At the end of the epoch the weights are learned anew.
    weighted : bool
        The loss is weighted.
    meta_loss : bool
        The loss of trusted samples is added.
    """

    stage_2: bool
    catch_up: bool
    batchwise: bool
    collect: bool
    read: bool
    refit: bool
    weighted: bool
    meta_loss: bool

    @classmethod
    def of(cls, epoch, *, warmup_epochs, refit_every, features, meta_loss_weight, learned, other_data):
        """The plan of an epoch.

        Parameters
        ----------
        epoch : int
            From 1 on, earlier calls of ``partial_fit`` included.
        warmup_epochs, refit_every, features, meta_loss_weight
            Parameters of :class:`OTReweighting`.
        learned : bool
            Whether there are weights of these data.
        other_data : bool
            Whether the net has trained on other data, whose weights are gone.
        """
        stage_2 = epoch > warmup_epochs
        batchwise = stage_2 and refit_every == "batch"
        catch_up = stage_2 and other_data and not batchwise
        weighted = stage_2 and (learned or catch_up or batchwise)
        refit = epoch == warmup_epochs
        if stage_2 and not batchwise:
            # stage 2 without weights: the epoch that was to learn them has been interrupted
            refit = epoch % refit_every == 0 or (warmup_epochs > 0 and not weighted)
        return cls(
            stage_2=stage_2,
            catch_up=catch_up,
            batchwise=batchwise,
            collect=refit and features == "cached",
            read=epoch < warmup_epochs and epoch & (epoch - 1) == 0,
            refit=refit,
            weighted=weighted,
            meta_loss=stage_2 and meta_loss_weight > 0,
        )


def first_weighted_epoch(warmup_epochs, refit_every):
    """The first epoch of a new net whose loss is weighted."""
    return refit_every + 1 if warmup_epochs == 0 and refit_every != "batch" else warmup_epochs + 1
