"""All tests. The contract is no test module of its own: without this its assertions would not explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.storage_contract")
