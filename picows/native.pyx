# cython: autotestdict=False
"""The masking kernels, in one module for all, and the choice among them, made once."""

cdef const ws_mask_impl* MASK = ws_mask_select()


cdef const ws_mask_impl* mask_impl(size_t index) noexcept:
    """Every kernel this CPU can run, the best first; NULL past the last."""
    return ws_mask_available(index)
