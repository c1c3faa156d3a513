"""What tests share: fakes, fixtures and the embedded stack."""
