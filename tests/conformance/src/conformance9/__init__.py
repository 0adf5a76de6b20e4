"""conformance9: black-box tests for threadpool(9), task(9) and workqueue(9) interfaces."""
