"""TabNet: selects a few genes for each cell, from which the type is predicted.

Source: Arik & Pfister, TabNet: Attentive Interpretable Tabular Learning, AAAI 2021, with 1.5-entmax
for the selection, as in scTab. The mathematics and the names of the parameters are those of the
usual implementation (pytorch-tabnet); the computation differs and needs few passes over
(cells, genes):

* the input normalisation is folded into the first layer: W (a x + c) = (W a) x + W c;
* the attention's normalisation needs variances of w·h over the cells of a part. They are w'Cw with
  the small covariance matrix C of h, so the logits are written once, already normalised;
* a cell's mask is positive for a few dozen genes out of thousands. On the CPU the logits, the mask
  and the masked expression are computed only there; elsewhere their gradients are exactly zero.
"""

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from hce.errors import UserError
from hce.kernels import full_precision
from hce.models.entmax import entmax15_and_entropy
from hce.models.entmax_rows import RowsEntmax15, candidates
from hce.models.gated import gated_norm
from hce.models.ghost_norm import GhostBatchNorm, ungrouped
from hce.models.mask import DenseMask, Mask, SparseMask, has_static_shapes, is_dense
from hce.models.moments import moments
from hce.models.wide import wide_linear

INPUT_MOMENTUM = 0.01
# Parts of one length, (parts, cells, n_a), and the scales of their logits, (parts, genes).
_Group = tuple[Tensor, Tensor]
# Aliases of shared layers in the usual state dicts.
ALIAS = re.compile(
    r"encoder\.(?:initial_splitter|feat_transformers\.\d+)\.shared\.shared_layers\.(\d+)\.weight"
    r"|encoder\.feat_transformers\.\d+\.shared\.glu_layers\.(\d+)\.fc\.weight"
)


def _init_normal(layer: nn.Linear, gain: float) -> None:
    if not layer.weight.is_meta:  # for which torch would import its compiler, two seconds
        nn.init.xavier_normal_(layer.weight, gain)


class _GLU(nn.Module):
    """A gated layer; without `fc` it uses the layer of another one."""

    def __init__(
        self, n_in: int, n_out: int, virtual_batch_size: int, momentum: float, borrows: bool
    ) -> None:
        super().__init__()
        self.fc = None if borrows else nn.Linear(n_in, 2 * n_out, bias=False)
        if self.fc is not None:
            gain = math.sqrt((n_in + 2 * n_out) / math.sqrt(n_in))
            _init_normal(self.fc, gain)
        self.bn = GhostBatchNorm(2 * n_out, virtual_batch_size, momentum)

    def forward(self, product: Tensor) -> Tensor:
        """Output, from the product with the layer's weights."""
        return gated_norm(product, self.bn)


class _Block(nn.Module):
    def __init__(self, layers: list[_GLU]) -> None:
        super().__init__()
        self.glu_layers = nn.ModuleList(layers)


class _FeatureTransformer(nn.Module):
    """Gated layers with residuals, some of them shared between all feature transformers.

    Args:
        widths: widths of the input and the output.
        n_layers: numbers of shared and own layers.
        normalisation: virtual_batch_size and momentum.
        lender: the feature transformer with the shared layers; None for itself.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        n_layers: tuple[int, int],
        normalisation: tuple[int, float],
        lender: "_FeatureTransformer | None",
    ) -> None:
        super().__init__()
        n_shared, n_own = n_layers
        borrowed = n_shared if lender is not None else 0
        layers = [
            _GLU(widths[i > 0], widths[1], *normalisation, borrows=i < borrowed)
            for i in range(n_shared + n_own)
        ]
        self.shared = _Block(layers[:n_shared])
        self.specifics = _Block(layers[n_shared:])

    def layers(self) -> Iterator[_GLU]:
        """The layers in order."""
        for block in (self.shared, self.specifics):
            for layer in block.glu_layers:
                assert isinstance(layer, _GLU)
                yield layer

    def weights(self, lender: "_FeatureTransformer") -> list[Tensor]:
        """Weights of the layers, borrowed or own."""
        pairs = zip(self.layers(), lender.layers(), strict=True)
        return [(own.fc or lent.fc).weight for own, lent in pairs]  # type: ignore[union-attr]

    def forward(self, product: Tensor, lender: "_FeatureTransformer") -> Tensor:
        """Output, from the product of the input with the first layer's weights."""
        x: Tensor | None = None
        for layer, weight in zip(self.layers(), self.weights(lender), strict=True):
            if x is None:
                x = layer(product)
            else:
                x = (x + layer(functional.linear(x, weight))) * math.sqrt(0.5)
        assert x is not None
        return x


class _AttentiveTransformer(nn.Module):
    """Selects genes.

    Args:
        n_a: width of its input.
        n_genes: number of genes.
        virtual_batch_size: see GhostBatchNorm.
        momentum: see GhostBatchNorm.
    """

    def __init__(self, n_a: int, n_genes: int, virtual_batch_size: int, momentum: float) -> None:
        super().__init__()
        self.fc = nn.Linear(n_a, n_genes, bias=False)
        _initialise(self.fc)
        self.bn = GhostBatchNorm(n_genes, virtual_batch_size, momentum)

    def forward(self, attention: Tensor, prior: Tensor | None, epsilon: float) -> Mask:
        """The mask of each cell.

        Args:
            attention: float (B, n_a).
            prior: factors on the logits, (B, genes), or None for ones.
            epsilon: ε of the masks' entropy.
        """
        # Variances and masks need full precision, and are cheap.
        with torch.autocast(attention.device.type, enabled=False):
            return self._mask(attention, prior, epsilon)

    def _mask(self, attention: Tensor, prior: Tensor | None, epsilon: float) -> Mask:
        groups, shift = self._folded(attention)
        if has_static_shapes(attention.device):
            return DenseMask(*self._dense(groups, shift, prior, epsilon))
        n_cells, n_genes = len(attention), self.fc.out_features
        with torch.no_grad():
            found, begin = [], 0
            for [part], [scale] in groups:
                logits = torch.addmm(shift, part, (self.fc.weight * scale[:, None]).mT)
                if prior is not None:
                    logits *= prior[begin : begin + len(part)]
                cells, genes = candidates(logits)
                found.append((cells + begin, genes))
                begin += len(part)
            cells, genes = (torch.cat(both) for both in zip(*found, strict=True))
        if is_dense(len(genes), n_cells, n_genes):
            values, entropy = self._dense(groups, shift, prior, epsilon)
            return SparseMask(values[cells, genes], cells, genes, entropy)
        inputs = torch.cat([part for [part], _ in groups])
        scales = torch.cat([scale for _, scale in groups])
        ends = torch.tensor([len(part) for [part], _ in groups]).cumsum(0)
        parts = torch.bucketize(cells, ends, right=True)
        products = (functional.embedding(genes, self.fc.weight) * inputs[cells]).sum(dim=1)
        few = torch.addcmul(shift[genes], products, scales[parts, genes])
        if prior is not None:
            few = few * prior[cells, genes]
        starts = torch.searchsorted(cells, torch.arange(n_cells + 1))
        values = RowsEntmax15.apply(few, starts)
        return SparseMask(values, cells, genes, (values * (values + epsilon).log()).sum())

    def _dense(
        self, groups: list[_Group], shift: Tensor, prior: Tensor | None, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """The mask of all genes, (B, genes), and the sum of its entropies (negative), a scalar."""
        weight = self.fc.weight
        logits = ungrouped([part @ (weight * scale[..., None]).mT for part, scale in groups])
        if prior is not None:
            logits, shift = (logits + shift) * prior, torch.zeros_like(shift)
        values, entropies = entmax15_and_entropy(logits, shift, epsilon)
        return values, entropies.sum()

    def _folded(self, attention: Tensor) -> tuple[list[_Group], Tensor]:
        """Groups of parts, and the shift (genes,) of their normalised logits.

        The normalised logits of a cell are scale × (W · input) + shift.
        """
        norm, weight = self.bn, self.fc.weight
        if not self.training:
            assert norm.bn.running_mean is not None
            assert norm.bn.running_var is not None
            scale = norm.scale(norm.bn.running_var)
            return [(attention[None], scale[None])], norm.bn.bias - norm.bn.running_mean * scale
        if has_static_shapes(attention.device):
            parts = norm.groups(attention)
        else:  # one after the other, for which the caches are large enough
            parts = [part[None] for part in attention.split(norm.parts(len(attention)))]
        groups, by_gene = [], weight.mT.contiguous()
        for part in parts:
            mean = part.mean(dim=1)
            centred = part - mean[:, None]
            with full_precision():  # also of products on a GPU
                covariance = centred.mT @ centred / part.shape[1]
                variance = ((covariance @ by_gene) * by_gene).sum(dim=1).clamp_min(0)
                norm.track(mean @ by_gene, variance, part.shape[1])
            groups.append((centred, norm.scale(variance)))
        return groups, norm.bn.bias


class _Encoder(nn.Module):
    """Everything but the last layer; the arguments are those of TabNet."""

    def __init__(
        self,
        n_genes: int,
        n_d: int,
        n_a: int,
        n_steps: int,
        n_layers: tuple[int, int],
        normalisation: tuple[int, float],
    ) -> None:
        super().__init__()
        self.n_d = n_d
        self.initial_bn = nn.BatchNorm1d(n_genes, momentum=INPUT_MOMENTUM)
        widths = (n_genes, n_d + n_a)
        self.initial_splitter = _FeatureTransformer(widths, n_layers, normalisation, None)
        lender = self.initial_splitter if n_layers[0] else None
        self.feat_transformers = nn.ModuleList(
            _FeatureTransformer(widths, n_layers, normalisation, lender) for _ in range(n_steps)
        )
        self.att_transformers = nn.ModuleList(
            _AttentiveTransformer(n_a, n_genes, *normalisation) for _ in range(n_steps)
        )

    def input_fold(self, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Scale a and shift c (genes,): a × expression + c is normalised."""
        norm = self.initial_bn
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        if self.training:
            n_cells = len(expression)
            batch_mean, batch_variance = moments(expression)
            with torch.no_grad():
                mean.lerp_(batch_mean, INPUT_MOMENTUM)
                unbiased = batch_variance * (n_cells / (n_cells - 1))
                variance.lerp_(unbiased, INPUT_MOMENTUM)
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked += 1
            mean, variance = batch_mean, batch_variance
        a = norm.weight * (variance + norm.eps).rsqrt()
        return a, norm.bias - mean * a


class TabNet(nn.Module):
    """TabNet with 1.5-entmax masks.

    The defaults are those of the paper's runs. State dicts that contain the shared layers several
    times, like the paper's checkpoints, can be loaded.

    Args:
        n_genes: width of the input.
        n_types: number of types.
        n_d: width of the part from which the type is predicted.
        n_a: width of the part from which the next mask is made.
        n_steps: number of masks.
        gamma: how often a gene can be selected by several masks (1: once).
        n_independent: own gated layers of each feature transformer.
        n_shared: gated layers that all feature transformers share.
        virtual_batch_size: cells over which hidden layers are normalised.
        momentum: momentum of the running statistics of hidden layers.
        epsilon: ε in log(mask + ε).
        lambda_sparse: weight of the entropy of the masks in the loss, see `penalty`.
    """

    def __init__(
        self,
        n_genes: int,
        n_types: int,
        n_d: int = 128,
        n_a: int = 64,
        n_steps: int = 1,
        gamma: float = 1.3,
        n_independent: int = 5,
        n_shared: int = 3,
        virtual_batch_size: int = 256,
        momentum: float = 0.02,
        epsilon: float = 1e-15,
        lambda_sparse: float = 1e-5,
    ) -> None:
        if n_steps < 1 or n_shared + n_independent < 1:
            raise UserError(
                f"TabNet with n_steps {n_steps}, n_shared {n_shared} and n_independent "
                f"{n_independent} has no layers: set n_steps and one of the others to at least 1."
            )
        super().__init__()
        self.gamma = gamma
        self.epsilon = epsilon
        self.lambda_sparse = lambda_sparse
        self.encoder = _Encoder(
            n_genes,
            n_d,
            n_a,
            n_steps,
            (n_shared, n_independent),
            (virtual_batch_size, momentum),
        )
        self.final_mapping = nn.Linear(n_d, n_types, bias=False)
        _initialise(self.final_mapping)
        self._penalty: Tensor | None = None
        self.register_load_state_dict_pre_hook(_drop_aliases)

    def forward(self, expression: Tensor) -> Tensor:
        """Logits, float32 (B, types), from expression (B, genes)."""
        encoder = self.encoder
        splitter, n_d = encoder.initial_splitter, encoder.n_d
        a, c = encoder.input_fold(expression)
        weight = splitter.weights(splitter)[0]
        product = wide_linear(expression, weight * a, weight @ c)
        attention, prior = splitter(product, splitter)[:, n_d:], None
        decisions: list[Tensor] = []
        entropies: list[Tensor] = []
        for attend, transform in zip(
            encoder.att_transformers, encoder.feat_transformers, strict=True
        ):
            assert isinstance(transform, _FeatureTransformer)
            mask: Mask = attend(attention, prior, self.epsilon)
            entropies.append(mask.entropy / len(expression))
            if len(decisions) + 1 < len(encoder.att_transformers):
                prior = mask.next_prior(prior, self.gamma, expression.shape)
            product = mask.product(expression, a, c, transform.weights(splitter)[0])
            out = transform(product, splitter)
            decisions.append(functional.relu(out[:, :n_d]))
            attention = out[:, n_d:]
        if self.training:
            self._penalty = -self.lambda_sparse * torch.stack(entropies).mean()
        logits: Tensor = self.final_mapping(torch.stack(decisions).sum(dim=0))
        return logits

    def penalty(self) -> Tensor:
        """The scalar that the last forward pass in training adds to the loss; can be read once.

        It is −λ M, with M the mean over steps and cells of Σ mask × log(mask + ε): λ times the
        entropy of the masks, so that fewer selected genes give a lower loss.
        """
        penalty, self._penalty = self._penalty, None
        if penalty is None:
            raise RuntimeError("penalty() is of the last forward pass in training mode")
        return penalty


def _initialise(layer: nn.Linear) -> None:
    """Initialises layers without a gate as in the published code."""
    n_in, n_out = layer.in_features, layer.out_features
    _init_normal(layer, math.sqrt((n_in + n_out) / math.sqrt(4 * n_in)))


def _drop_aliases(
    module: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    local_metadata: object,
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Removes further names of shared layers from a state dict, if they have the same values."""
    del module, local_metadata, strict, missing, unexpected
    for name in list(state):
        found = ALIAS.fullmatch(name.removeprefix(prefix))
        if found is None:
            continue
        lent = (
            f"{prefix}encoder.initial_splitter.shared.glu_layers.{found[1] or found[2]}.fc.weight"
        )
        alias = state.pop(name)
        if lent not in state or not torch.equal(alias, state[lent]):
            errors.append(f"the shared layer {name} differs from {lent}")
