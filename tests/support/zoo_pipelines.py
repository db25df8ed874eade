"""A pipeline for every entry of the zoo that trains small networks, vectors and all."""

TRAINS = {
    "a_on_m": "a_on_m(lr=0.01, alpha=-1)",
    "adafactor": "adafactor(lr=0.3)",
    "adafactor_unfactored": "adafactor_unfactored(lr=0.3)",
    "adam_atan2": "adam_atan2(lr=0.01)",
    "adam_mini": "adam_mini(lr=0.01)",
    "adam_mini_layer": "adam_mini_layer(lr=0.01)",
    "adamax": "adamax(lr=0.02)",
    "ademamix": "ademamix(lr=0.01, ramp=30)",
    "adopt": "adopt(lr=0.01)",
    "agc": "grad | agc(clipping=0.1) | sgd(lr=0.5)",
    "agc_layer": "grad | agc_layer(clipping=0.1) | sgd(lr=0.5)",
    "amsgrad": "amsgrad(lr=0.01, bias_correction=True)",
    "came": "route(matrix=came(lr=0.01), other=adamw(lr=0.01))",
    "cautious_adamw": "cautious_adamw(lr=0.01, weight_decay=0.1)",
    "dadapt_adam": "dadapt_adam(lr=0.3, d0=0.001)",
    "gradient_centralization": "route(matrix=gradient_centralization | adamw(lr=0.01), other=adamw(lr=0.01))",
    "grafted_psgd_kron": "grafted_psgd_kron(lr=0.01)",
    "grokfast": "grad | grokfast(decay=0.9) | sgd(lr=0.1)",
    "hyperball": "adam(lr=0.05) | hyperball",
    "laprop": "laprop(lr=0.01)",
    "mars": "grad_pair | mars(lr=0.01)",
    "nadam": "nadam(lr=0.01)",
    "normuon": "route(matrix=normuon(lr=0.05), other=adamw(lr=0.01))",
    "prodigy": "prodigy(d0=0.001)",
    "radam": "radam(lr=0.05)",
    "radial_brake": "sgd(lr=0.3, momentum=0.9) | radial_brake",
    "row_normalised_muon": "route(matrix=row_normalised_muon(lr=0.05, cautious_decay=True), other=adamw(lr=0.01))",
    "schedule_free": "schedule_free(lr=0.02)",
    "scion": "route(matrix=scion(lr=0.01, radius=5), other=scion_vector(lr=0.01, radius=5))",
    "scion_vector": "scion_vector(lr=0.01, radius=5, constrained=False)",
    "signum": "signum(lr=0.005)",
    "soap_then_muon": "route(matrix=soap_then_muon(lr=0.05), other=adamw(lr=0.01))",
    "tiger": "tiger(lr=0.005)",
    "yogi": "yogi(lr=0.02)",
}


def behind_e(spec: str) -> str:
    """The same with E behind the estimator."""
    estimator = "grad_pair" if spec.startswith("grad_pair") else "grad"
    buffers = ", buffers=2" if estimator == "grad_pair" else ""
    return f"{estimator} | e(alpha=-2, beta1=0.9{buffers}) | {spec.removeprefix(f'{estimator} | ')}"
