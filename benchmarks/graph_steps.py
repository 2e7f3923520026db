"""Training steps of a small ResNet on a GPU: kernel by kernel, and replayed as CUDA graphs.

    python benchmarks/graph_steps.py --device cuda

First whether they are the same: networks with and without graphs take a few steps in float32 on batches of two sizes in
one loss, as training with a meta loss has them, and must have moved to the same place, as nearly as one without graphs
that takes the steps again. Then the time of a step in bfloat16. On a CPU there are no graphs, and both are one.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from _networks import ResNet
from torch.nn.functional import cross_entropy

SAME = 1e-2  # of the way that the parameters went
AFTER = 1, 3, 6  # steps


def optimizer_of(net):
    return torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def step(net, optimizer, *batches):
    optimizer.zero_grad()
    loss = sum(cross_entropy(net(X), y) for X, y in batches)
    loss.backward()
    optimizer.step()
    return loss.detach()  # a loss that lived on would keep the graph, and the stream of its gradients


def batches_of(sizes, device):
    return [(torch.randn(n, 3, 32, 32, device=device), torch.randint(10, (n,), device=device)) for n in sizes]


def states(net):
    """Parameters, means and variances of batch norm, and how many batches it has counted, each in one vector."""
    kinds = {"parameters": [], "running_mean": [], "running_var": [], "num_batches_tracked": []}
    for name, value in net.state_dict().items():
        kind = name.rsplit(".", 1)[-1]
        kinds[kind if kind in kinds else "parameters"].append(value.detach().flatten().double())
    return [torch.cat(values) for values in kinds.values()]


def distances(args):
    """How far networks are from the first one after 1, 3 and more steps, over how far that one went.

    Once for a network without graphs, as the first is: the order in which a GPU adds up differs from run to run, and
    steps magnify it. And once for a network with graphs.
    """
    torch.manual_seed(0)
    cudnn = torch.backends.cudnn
    before_flags = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    try:
        first = ResNet(args.width, args.depth).to(args.device)
        sizes = args.batch_size, args.batch_size - 28
        start = states(first)
        nets = first, copy.deepcopy(first), copy.deepcopy(first).capture(sizes)
        optimizers = [optimizer_of(net) for net in nets]
        apart = {"again": [], "graphs": []}
        for k in range(1, max(AFTER) + 1):
            batches = batches_of(sizes, args.device)
            for net, optimizer in zip(nets, optimizers, strict=True):
                step(net, optimizer, *batches)
            if k in AFTER:
                for name, net in zip(apart, nets[1:], strict=True):
                    pairs = zip(states(first), states(net), start, strict=True)
                    apart[name].append(max(float((a - b).norm() / (a - s).norm()) for a, b, s in pairs))
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before_flags
    return apart


def agree(apart):
    """Whether graphs go where the kernels one by one go, as nearly as these go where they went before."""
    pairs = zip(apart["graphs"], apart["again"], strict=True)
    return bool(apart["graphs"][0] < SAME and all(graphs < SAME + 10.0 * again for graphs, again in pairs))


def milliseconds(graphs, args):
    """Median time of a step."""
    net = ResNet(args.width, args.depth, bfloat16=True).to(args.device)
    if graphs:
        net.capture((args.batch_size,))
    optimizer, batches = optimizer_of(net), batches_of((args.batch_size,), args.device)
    spent = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step(net, optimizer, *batches).item()  # waits for the device
        spent.append(1e3 * (time.perf_counter() - start))
    return float(torch.tensor(spent[len(spent) // 3 :]).median())


def _short(values):
    return ", ".join(f"{value:.0e}" for value in values)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args(argv)
    apart = distances(args)
    result = {"steps": AFTER, "apart": apart, "agrees": agree(apart)}
    result |= {f"{name} ms": milliseconds(graphs, args) for name, graphs in (("eager", False), ("graphs", True))}
    if args.out:
        args.out.write_text(json.dumps(result))
    print(
        f"ResNet-{6 * args.depth + 2}, width {args.width}, batches of {args.batch_size}: {result['eager ms']:.2f} ms a "
        f"step, {result['graphs ms']:.2f} ms by graphs; after {AFTER} steps apart by {_short(apart['graphs'])} of the "
        f"way, and without graphs by {_short(apart['again'])}: {'the same' if result['agrees'] else 'NOT the same'}"
    )
    return result


if __name__ == "__main__":
    main()
