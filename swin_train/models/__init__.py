"""The models: plain ``nn.Module`` classes whose parameter names are those of the published checkpoints."""
