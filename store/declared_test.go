package store

import (
	"encoding/json"
	"testing"
)

func TestDeclared(t *testing.T) {
	db, _ := open(t)
	update(t, db, func(tx *Tx) error {
		if err := tx.Declare("acme/web", []Declared{{App: "gone"}}); err != nil {
			return err
		}
		err := tx.Declare("acme/web", []Declared{
			{App: "api", SHA: "a1", Schedule: JSON[json.RawMessage]{json.RawMessage(`[{"cron":"0 3 * * *"}]`)}},
			{App: "web", SHA: "a1", Registry: "registry.example.com/team/base"},
		})
		if err != nil {
			return err
		}
		return tx.Declare("acme/other", []Declared{{App: "other"}})
	})
	update(t, db, func(tx *Tx) error {
		apps, err := tx.DeclaredOf("Acme/Web")
		if err != nil || len(apps) != 2 || apps[0].App != "api" || apps[0].SHA != "a1" || string(apps[1].Schedule.V) != "[]" {
			t.Errorf("%+v, %v", apps, err)
		}
		apps, err = tx.DeclaredSchedules()
		if err != nil || len(apps) != 1 || apps[0].App != "api" || string(apps[0].Schedule.V) != `[{"cron":"0 3 * * *"}]` {
			t.Errorf("%+v, %v", apps, err)
		}
		apps, err = tx.DeclaredFor("registry.example.com/team/base")
		if err != nil || len(apps) != 1 || apps[0].App != "web" {
			t.Errorf("%+v, %v", apps, err)
		}
		return nil
	})
}
