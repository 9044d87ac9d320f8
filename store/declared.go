package store

import "encoding/json"

// Declared is what the default branch's file of an app asks for that no event of its repository starts.
type Declared struct {
	Repo     string                `db:"repo"`
	App      string                `db:"app"`
	SHA      string                `db:"sha"`      // the commit that was read
	Schedule JSON[json.RawMessage] `db:"schedule"` // a list, as in the file
	Registry string                `db:"registry"` // the image repository whose pushes make releases, or ""
}

// Declare replaces what is known of the apps of a repository.
func (tx *Tx) Declare(repo string, apps []Declared) error {
	if _, err := tx.exec("DELETE FROM declared WHERE repo = ?", repo); err != nil {
		return err
	}
	for _, a := range apps {
		if a.Schedule.V == nil {
			a.Schedule.V = json.RawMessage("[]")
		}
		a.Repo = repo
		if err := tx.insert("declared", "repo app sha schedule registry", a); err != nil {
			return err
		}
	}
	return nil
}

// DeclaredOf lists the apps of a repository.
func (tx *Tx) DeclaredOf(repo string) ([]Declared, error) {
	return list[Declared](tx, "SELECT * FROM declared WHERE repo = ? ORDER BY app", repo)
}

// DeclaredApps lists the apps, of all repositories, that are called so.
func (tx *Tx) DeclaredApps(app string) ([]Declared, error) {
	return list[Declared](tx, "SELECT * FROM declared WHERE app = ? ORDER BY repo", app)
}

// DeclaredSchedules lists the apps, of all repositories, that have a schedule.
func (tx *Tx) DeclaredSchedules() ([]Declared, error) {
	return list[Declared](tx, "SELECT * FROM declared WHERE schedule <> '[]' ORDER BY repo, app")
}

// DeclaredFor lists the apps, of all repositories, that an image's push to that repository (with its host) concerns.
func (tx *Tx) DeclaredFor(registry string) ([]Declared, error) {
	return list[Declared](tx, "SELECT * FROM declared WHERE registry = ? ORDER BY repo, app", registry)
}
