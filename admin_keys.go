package serversession

import (
	"strings"

	"go.uber.org/zap"
)

func (c *adminCall) rotateKeys() error {
	c.takesLong() // it looks which keys are in use
	if err := c.open.manager.RotateKeys(c.r.Context()); err != nil {
		return err
	}
	keys := adminKeys(c.open.manager)
	c.log.Info("added a key to the ring", zap.String("key", keys[0].ID))
	return c.answer(keys)
}

func (c *adminCall) dropKey() error {
	id := strings.TrimPrefix(c.r.URL.Path, adminPath+"keys/")
	if err := c.open.manager.DropKey(c.r.Context(), id); err != nil {
		return err
	}
	c.log.Warn("dropped a key from the ring, which ends the sessions made under it", zap.String("key", id))
	return c.answer(adminKeys(c.open.manager))
}
