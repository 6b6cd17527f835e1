//go:build !linux

package localsvc

import "syscall"

// setDeathSignal does nothing: only Linux can tie a child to its parent. Elsewhere a killed parent leaves its children running.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
